"""Methods: whatever maps LR images to SR images. Each is a row of the tables."""
