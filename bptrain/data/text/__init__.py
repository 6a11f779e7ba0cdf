"""Text: one long text for a language model, or a table of labeled texts to classify."""
