"""steep turns a domain's own text into a fine-tuned language model, and proves what it gained."""
