"""`python -m core_service.cli`: what the `./novapay` script becomes."""

from core_service.cli import main

raise SystemExit(main())
