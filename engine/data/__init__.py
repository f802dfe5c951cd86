"""From files to tokens: rows, examples with loss masks, packing, tokenizers, and the built-in fact world."""
