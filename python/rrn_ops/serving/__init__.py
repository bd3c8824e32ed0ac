"""Models in a Triton Inference Server: the store, the server, the client, and how fast it is.

`description` says what a model is and writes its config.pbtxt, `checks` compares it with the model's file, `gallery`
embeds the pictures that others are compared with, `store` makes a store of all that; `runtime` finds the server's
files, `server` starts and stops it, `client` asks it, `load` measures it, `command` is ``rrn serve``. `python_models`
runs inside of the server, in its own Python.
"""
