"""Pictures from arrays; knows no model."""

OVERLAYS, INSTANCES, OBJECTS = "overlays", "instances", "instances.json"
"""What ``seglab predict`` writes beside the class maps: two folders and a file."""
