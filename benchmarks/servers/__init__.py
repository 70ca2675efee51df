"""The measured servers, each a program: `python -m servers.NAME --app APP --port PORT`."""
