"""mmjax: multimodal models in JAX, as pure functions. See README.md; the contracts are in `mmjax.types`."""
