"""Statistics of features: of one window of production, or of the data that a model was trained on."""
