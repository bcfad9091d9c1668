"""The domain's records: a raw capture and what is known of it; its mosaic as four planes, and back."""
