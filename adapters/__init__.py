"""Native objects for PyTorch, optax and Keras, and the command line; translation, no arithmetic."""

if __name__ != "optcore.adapters":
    raise ImportError(f"{__name__} is a part of optcore; import it as optcore.adapters")
