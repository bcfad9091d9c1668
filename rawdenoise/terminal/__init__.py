"""What any program needs of its terminal: signals, standard streams, one line of text, a live line."""
