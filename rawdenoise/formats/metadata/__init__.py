"""What a source says beside its pixels, kept byte for byte, and what an output says of its making."""
