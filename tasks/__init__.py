"""The library as Prefect tasks: logging, Dask, artifacts; no mathematics."""
