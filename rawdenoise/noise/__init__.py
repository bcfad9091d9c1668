"""All that is known of noise: the model, estimates of it, profiles, rows, defects, and what is believed."""
