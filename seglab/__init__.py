"""seglab: image segmentation experiments whose numbers can be trusted."""
