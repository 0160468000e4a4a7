"""How files on disk become samples: VOC's layout, pairs, COCO, a class of the user's own."""
