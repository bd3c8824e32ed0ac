"""Files with which rrn watch runs as a service."""
