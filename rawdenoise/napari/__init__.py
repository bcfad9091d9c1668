"""The plug-in of napari: raws as layers, denoised in a dock beside them."""
