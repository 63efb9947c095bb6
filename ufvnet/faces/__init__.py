"""Finding a face in a photo and cutting it out."""
