"""The service: models of one machine for many listeners, by HTTP, WebSocket and gRPC."""

TOKEN = "WAVEGEN_TOKEN"  # where a token stands that nobody is to read from a list of processes
