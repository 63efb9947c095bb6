-- Role and database of Prefect's server: psql --file deploy/postgresql-create.sql, as PostgreSQL's administrator.
-- The password goes to ~prefect/.pgpass, or into PREFECT_SERVER_DATABASE_CONNECTION_URL.
CREATE ROLE prefect LOGIN;
CREATE DATABASE prefect OWNER prefect;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
