"""Pictures drawn by chance, and a camera that takes noisy captures of them."""
