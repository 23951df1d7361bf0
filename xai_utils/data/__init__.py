"""The pictures: photographs, stickers, silhouettes, and one's own tables."""
