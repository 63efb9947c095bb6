"""Where photos come from, and the files that say something about them: lists, tables, landmarks."""
