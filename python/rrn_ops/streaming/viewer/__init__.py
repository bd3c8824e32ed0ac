"""The live page: subscribes to a broker and shows each picture with its own boxes."""
