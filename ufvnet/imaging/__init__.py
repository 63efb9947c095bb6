"""Pictures: decoded from any file, mended, turned upright, converted, resized, encoded."""
