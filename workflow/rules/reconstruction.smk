# 4, 6, 11, 12. From channel data, simulated or recorded, to registered angiograms of both methods.


rule beamform:
    wildcard_constraints:
        acquisition=one_of([*settings.phantoms, *recordings_of("channel_data")]),
    message:
        "Beamforming {wildcards.acquisition}"
    input:
        channel_data=f"{results}/channel_data/{{acquisition}}.zarr",
    output:
        iq=directory(f"{results}/iq/{{acquisition}}.zarr"),
    params:
        parameters=given("beamform", "beamforming"),
    log:
        f"{results}/logs/beamform/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/beamform/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=3000,
        runtime=240,
    shell:
        "python -m ulmpipe beamform --parameters {params.parameters:q} --threads {threads}"
        " --channel-data {input.channel_data} --iq {output.iq} 2>&1 | tee -i {log}"


rule correlate:
    message:
        "Clutter filter and correlation maps of {wildcards.acquisition}"
    input:
        iq=f"{results}/iq/{{acquisition}}.zarr",
        point_spread=point_spread_of,
    output:
        correlation=directory(f"{results}/correlation/{{acquisition}}.zarr"),
    params:
        parameters=lambda wildcards: given(
            "correlate",
            "seed",
            "medium",
            "motion",
            "clutter_filter",
            sequence=sequence_of(wildcards.acquisition),
            maps=maps_for("network", "expert"),
        ),
    log:
        f"{results}/logs/correlate/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/correlate/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=2000,
        runtime=120,
    shell:
        "python -m ulmpipe correlate --parameters {params.parameters:q} --threads {threads}"
        " --iq {input.iq} --point-spread {input.point_spread} --correlation {output.correlation} 2>&1 | tee -i {log}"


rule register:
    message:
        "Registration of the blocks of {wildcards.acquisition}"
    input:
        images=images_to_register,
    output:
        shifts=f"{results}/registration/{{acquisition}}.json",
        table=f"{results}/registration/{{acquisition}}.csv",
    params:
        parameters=lambda wildcards: given(
            "register",
            "registration",
            block_interval=block_interval(wildcards.acquisition),
            beamforming={"pixel": settings.beamforming.pixel},
        ),
    log:
        f"{results}/logs/register/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/register/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "python -m ulmpipe register --parameters {params.parameters:q} --threads {threads}"
        " --images {input.images} --shifts {output.shifts} --table {output.table} 2>&1 | tee -i {log}"


rule infer:
    message:
        "Network inference over the field of {wildcards.acquisition}"
    input:
        correlation=f"{results}/correlation/{{acquisition}}.zarr",
        model=weights,
    output:
        detections=directory(f"{results}/detections/{{acquisition}}_network.zarr"),
    params:
        parameters=given(
            "infer",
            "network",
            "inference",
            targets={"upsampling": settings.targets.upsampling},
            trained_frames=trained_frames,
        ),
    log:
        f"{results}/logs/infer/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/infer/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=4000,
        runtime=240,
    shell:
        "python -m ulmpipe infer --parameters {params.parameters:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --correlation {input.correlation} --model {input.model} --detections {output.detections} 2>&1 | tee -i {log}"


rule localize:
    message:
        "Expert localization and tracking in {wildcards.acquisition}"
    input:
        correlation=f"{results}/correlation/{{acquisition}}.zarr",
    output:
        detections=directory(f"{results}/detections/{{acquisition}}_expert.zarr"),
    params:
        parameters=lambda wildcards: given(
            "localize",
            tracking=without("tracking", "scored"),
            sequence={"frame_rate": sequence_of(wildcards.acquisition)["frame_rate"]},
            targets={"upsampling": settings.targets.upsampling},
        ),
    log:
        f"{results}/logs/localize/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/localize/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    shell:
        "python -m ulmpipe localize --parameters {params.parameters:q} --threads {threads}"
        " --correlation {input.correlation} --detections {output.detections} 2>&1 | tee -i {log}"


rule angiogram:
    message:
        "Registered angiogram of {wildcards.acquisition}"
    input:
        network=f"{results}/detections/{{acquisition}}_network.zarr",
        expert=f"{results}/detections/{{acquisition}}_expert.zarr",
        correlation=f"{results}/correlation/{{acquisition}}.zarr",
        shifts=f"{results}/registration/{{acquisition}}.json",
        operating_points=operating_points,
    output:
        angiogram=directory(f"{results}/angio_{{acquisition}}.zarr"),
    params:
        parameters=lambda wildcards: given(
            "angiogram",
            targets={"upsampling": settings.targets.upsampling},
            concentration_per_mm3=settings.acquisitions[wildcards.acquisition].concentration_per_mm3,
        ),
    log:
        f"{results}/logs/angiogram/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/angiogram/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "python -m ulmpipe angiogram --parameters {params.parameters:q} --threads {threads}"
        " --network {input.network} --expert {input.expert} --correlation {input.correlation} --shifts {input.shifts}"
        " --operating-points {input.operating_points} --angiogram {output.angiogram} 2>&1 | tee -i {log}"
