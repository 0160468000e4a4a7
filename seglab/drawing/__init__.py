"""Pictures from arrays; knows no model."""
