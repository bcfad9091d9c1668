"""The watched folder: captures that arrive are denoised, at least once, whatever happens in between."""
