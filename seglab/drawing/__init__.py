"""Pictures from arrays; knows no model."""

OVERLAYS, INSTANCES, OBJECTS = "overlays", "instances", "instances.json"
PROBABILITIES = "probabilities"
"""What ``seglab predict`` writes beside the class maps: three folders and a file."""

WRITER, PREDICT = "Software", "seglab predict"
"""The PNG text, and what it says of class maps that ``seglab predict`` wrote."""
