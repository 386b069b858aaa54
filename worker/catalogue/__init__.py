"""Files of a catalogue: their checks, and folders of published versions."""
