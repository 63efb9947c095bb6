"""Tables of an evaluation: the paper's four with its numbers beside ours, and those of what was measured."""
