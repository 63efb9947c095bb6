-- Role and database of Prefect's server, as PostgreSQL's administrator:
--   psql --set=ON_ERROR_STOP=1 --set=password=SECRET --file=deploy/postgresql-create.sql
-- The server finds the password in the file .pgpass of the user ufvnet, mode 600: 127.0.0.1:5432:prefect:prefect:SECRET
CREATE ROLE prefect LOGIN PASSWORD :'password';
CREATE DATABASE prefect OWNER prefect;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
