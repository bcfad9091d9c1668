"""Records to HTML: the pages of models and of calibrations."""
