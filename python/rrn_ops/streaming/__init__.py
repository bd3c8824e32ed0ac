"""Watching people: a camera or video goes in, the people of every frame go out over MQTT to a live page."""
