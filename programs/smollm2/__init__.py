"""SmolLM2-135M-Instruct: `model` (weights, tokens), `decoder` (the program), `__main__` (the command)."""
