"""Stage 1 (anchors, regressor) and stage 2 (integrated) training."""
