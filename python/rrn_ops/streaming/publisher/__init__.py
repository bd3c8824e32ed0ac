"""From a source through the detector to an MQTT broker."""
