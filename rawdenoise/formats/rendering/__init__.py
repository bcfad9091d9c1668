"""A mosaic as a picture: linear light, demosaicing, crops, and the preview."""
