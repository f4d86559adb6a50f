"""Download public data: a catalogue of URLs and terms, resumable transfers, recorded checksums."""
