"""Methods: whatever maps LR images to SR images, as rows of the tables."""
