# From vessel graph to registered angiogram. The rules are in pipeline order:
#   snakemake --cores all results/angio_20MB.png
import logging

from snakemake.utils import min_version

min_version("9.10")
logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback at every line of it


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/vessels.smk"
include: "workflow/rules/bubbles.smk"
include: "workflow/rules/training_set.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/acquisition.smk"
include: "workflow/rules/reconstruction.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/maps.smk"
include: "workflow/rules/velocity.smk"


report: "workflow/report/workflow.rst"


onstart:
    own_results()


onsuccess:
    atexit.unregister(say_if_the_disk_is_full)


onerror:
    say_last_why_jobs_failed(log[0])


rule all:
    default_target: True
    input:
        f"{results}/angio_20MB.png",


rule concentrations:
    message:
        "Every acquisition of the configuration"
    input:
        expand("{results}/angio_{acquisition}.png", results=results, acquisition=settings.acquisitions),


rule everything:
    message:
        "Angiograms, tracks, maps and measures of every acquisition"
    input:
        expand("{results}/angio_{acquisition}.png", results=results, acquisition=settings.acquisitions),
        expand("{results}/angio_{acquisition}.ome.tif", results=results, acquisition=settings.acquisitions),
        expand("{results}/measures_{acquisition}.json", results=results, acquisition=settings.acquisitions),
        expand("{results}/tracks/{acquisition}.csv", results=results, acquisition=settings.acquisitions),
