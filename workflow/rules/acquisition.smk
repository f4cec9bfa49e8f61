# 10. The acquisition: a wide-field phantom of the test graph, with tissue, noise and drift, and its ground truth; or
# a recording of a user's own.


rule channel_data:
    wildcard_constraints:
        acquisition=one_of(settings.phantoms),
    message:
        "Channel data of acquisition {wildcards.acquisition}"
    input:
        trajectories=f"{results}/trajectories/{settings.volumes.test}_{{acquisition}}.zarr",
    output:
        channel_data=temp(directory(f"{results}/channel_data/{{acquisition}}.zarr")),
    params:
        parameters=lambda wildcards: acquisition_given(
            "channel_data", wildcards, "probe", "medium", "noise", "tissue", bubbles=bubble_sizes()
        ),
    log:
        f"{results}/logs/channel_data/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/channel_data/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 16
    resources:
        mem_mb=3000,
        runtime=240,
    shell:
        "python -m ulmpipe channel_data --parameters {params.parameters:q} --threads {threads}"
        " --trajectories {input.trajectories} --channel-data {output.channel_data} 2>&1 | tee -i {log}"


rule ground_truth:
    wildcard_constraints:
        acquisition=one_of(settings.phantoms),
    message:
        "Ground truth of acquisition {wildcards.acquisition}"
    input:
        graph=f"{results}/graphs/{settings.volumes.test}.h5",
        trajectories=f"{results}/trajectories/{settings.volumes.test}_{{acquisition}}.zarr",
    output:
        ground_truth=directory(f"{results}/ground_truth/{{acquisition}}.zarr"),
    params:
        parameters=lambda wildcards: acquisition_given(
            "ground_truth",
            wildcards,
            "probe",
            "medium",
            "flow",
            "classes",
            targets=without("targets", "dilation_radius"),
            tissue={key: sections["tissue"][key] for key in ("motion_amplitude", "motion_frequency")},
            motion={"within_blocks": settings.motion.within_blocks},
            beamforming={"pixel": settings.beamforming.pixel},  # no truth depends on how images are made
        ),
    log:
        f"{results}/logs/ground_truth/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/ground_truth/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        "python -m ulmpipe ground_truth --parameters {params.parameters:q} --threads {threads}"
        " --graph {input.graph} --trajectories {input.trajectories} --ground-truth {output.ground_truth} 2>&1 | tee -i {log}"


rule recorded_channel_data:
    wildcard_constraints:
        acquisition=one_of(recordings_of("channel_data")),
    message:
        "Channel data of recording {wildcards.acquisition}"
    input:
        files=recorded_files,
    output:
        channel_data=temp(directory(f"{results}/channel_data/{{acquisition}}.zarr")),
    params:
        parameters=lambda wildcards: given(
            "recorded_channel_data",
            "medium",
            probe=probe_of(wildcards.acquisition),
            sequence=sequence_of(wildcards.acquisition),
            acquisition=sections["acquisitions"][wildcards.acquisition],
        ),
    log:
        f"{results}/logs/recorded_channel_data/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/recorded_channel_data/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=240,
    shell:
        "python -m ulmpipe recorded_channel_data --parameters {params.parameters:q} --threads {threads}"
        " --channel-data {output.channel_data} 2>&1 | tee -i {log}"


rule recorded_images:
    wildcard_constraints:
        acquisition=one_of(recordings_of("iq")),
    message:
        "Images of recording {wildcards.acquisition}"
    input:
        files=recorded_files,
    output:
        iq=directory(f"{results}/iq/{{acquisition}}.zarr"),
    params:
        parameters=lambda wildcards: given(
            "recorded_images",
            "medium",
            sequence=sequence_of(wildcards.acquisition),
            acquisition=sections["acquisitions"][wildcards.acquisition],
            beamforming={"pixel": settings.beamforming.pixel},
        ),
    log:
        f"{results}/logs/recorded_images/{{acquisition}}.log",
    benchmark:
        f"{results}/benchmarks/recorded_images/{{acquisition}}.tsv"
    conda:
        "../envs/ulmpipe.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=240,
    shell:
        "python -m ulmpipe recorded_images --parameters {params.parameters:q} --threads {threads}"
        " --iq {output.iq} 2>&1 | tee -i {log}"
