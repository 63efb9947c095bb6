"""Methods: whatever maps LR images to SR images, a row of the tables each."""
