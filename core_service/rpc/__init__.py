"""The only code in the core that knows gRPC and protobuf."""
