"""Finding faces in a photo, cutting them out, and pasting them back."""
