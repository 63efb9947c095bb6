"""The files of deploy/: each is read by the program that it is for, where that is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401 (its defaults are there before settings are replaced for a while)
import pytest
import yaml

from tasks.cluster import check_cluster, map_on_cluster
from ufvnet.config import Cluster


@pytest.fixture
def deploy(repo: Path) -> Path:
    """The folder of the files."""
    return repo / "deploy"


def test_systemd_finds_nothing_wrong_with_the_units(deploy: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    units = sorted((deploy / "systemd").glob("*.service"))
    assert len(units) == 4
    for unit in units:
        text = unit.read_text()
        command = re.search(r"^ExecStart=/opt/ufvnet/\.venv/bin/(\w+) ", text, re.MULTILINE)
        assert command is not None
        assert command[1] in ("prefect", "dask")
        (tmp_path / unit.name).write_text(text.replace(command[0], f"ExecStart={sys.executable} "))
    verify = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in units)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "ufvnet" in line]
    assert not ours


def test_units_and_page_name_the_same_ports(deploy: Path, repo: Path) -> None:
    units = "".join(unit.read_text() for unit in (deploy / "systemd").glob("*.service"))
    page = (repo / "docs" / "operations.md").read_text()
    table = page[page.index("### What listens where") :]
    ports = re.findall(
        r"--(?:port|worker-port|nanny-port|dashboard-address) (?:127\.0\.0\.1:)?(\d{4}(?::\d{4})?)", units
    )
    assert sorted(set(ports) - {"0"}) == ["4200", "8786", "8787", "9000:9099", "9100:9199"]
    assert all(f"`{port}`" in table for port in ("4200", "8786", "8787", "5432", "9000-9199"))


def test_workers_take_jobs_over_tls_with_the_certificates_that_the_script_makes(deploy: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run([deploy / "dask" / "certificates.sh", tmp_path / "tls"], check=True)
    settings = yaml.safe_load((deploy / "dask" / "tls.yaml").read_text().replace("/etc/dask", str(tmp_path / "tls")))
    arguments = {
        "n_workers": 1,
        "processes": False,
        "protocol": "tls://",
        "dashboard_address": None,
        "host": "127.0.0.1",
    }
    cluster = Cluster(cluster_class="distributed.LocalCluster", cluster_kwargs=arguments)
    with dask.config.set(dask.config.merge(dask.config.config, settings)):  # as a file in /etc/dask is
        check_cluster(cluster)
        assert map_on_cluster(abs, [-1, 2], cluster) == [1, 2]


def test_slurm_gets_a_job_with_a_worker_for_each_core(deploy: Path) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue", reason="the extra slurm is not installed")
    block = yaml.safe_load((deploy / "slurm" / "cluster.yaml").read_text())
    cluster = Cluster.model_validate(block["cluster"])
    with jobqueue.SLURMCluster(**cluster.cluster_kwargs) as started:
        script = started.job_script()
    assert "#SBATCH --cpus-per-task=16" in script
    assert "--nthreads 1" in script
    assert "--nworkers 16" in script


def test_bash_reads_the_job_of_a_training(deploy: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    subprocess.run(["bash", "-n", deploy / "slurm" / "train.sbatch"], check=True)


def test_every_other_file_has_the_form_that_its_reader_expects(deploy: Path, repo: Path) -> None:
    worker: list[dict[str, Any]] = list(yaml.safe_load_all((deploy / "kubernetes" / "worker.yaml").read_text()))
    assert [part["kind"] for part in worker] == ["ServiceAccount", "Role", "RoleBinding", "Deployment"]
    assert all({"apiVersion", "metadata"} <= part.keys() for part in worker)
    shipped = yaml.safe_load((repo / "prefect.yaml").read_text())["definitions"]["environment"]
    pool = yaml.safe_load((deploy / "kubernetes" / "job-variables.yaml").read_text())["work_pool"]
    assert pool["job_variables"]["env"] == shipped
    assert pool["job_variables"]["namespace"] == "default"
    container = worker[3]["spec"]["template"]["spec"]["containers"][0]
    sources = {variable["name"]: variable.get("valueFrom") for variable in container["env"]}
    # Its Role holds in one namespace: an observer of the whole cluster (the default) would be refused.
    observed = sources["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"]
    assert observed == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    ((step, inputs),) = yaml.safe_load((deploy / "pull.yaml").read_text())["pull"][0].items()
    assert step == "prefect.deployments.steps.set_working_directory"
    variable = inputs["directory"].strip("{ $}")
    assert f"{variable}=" in (deploy / "systemd" / "ufvnet.env").read_text()
    for line in (deploy / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            assert all((repo / name).exists() for name in line.split()[1:-1]), line
