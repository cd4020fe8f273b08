"""The service: models of one machine for many listeners, by HTTP, WebSocket and gRPC."""
