"""CMU-MOSI: its published feature files, and the sentiment task on them."""
