"""The core: decides, remembers, holds the secrets and is the only part that calls out."""
