"""The table of segmentation networks, torch-free: name → the function that builds one, as "module:name".

A builder takes the number of classes and the section `model` of params.yaml, and returns a
`dacs.models.segmenter.Segmenter`. It is imported when a network is built, so a row may name code of other packages.
"""

NETWORKS: dict[str, str] = {
    "small": "dacs.models.small:small",
    "small_gn": "dacs.models.small:small_gn",
    "pyramid": "dacs.models.pyramid:pyramid",
    "daformer": "dacs.models.daformer:daformer",
    "deeplab_timm": "dacs.models.deeplab:deeplab_timm",
    "deeplab_mobilenet": "dacs.models.deeplab:deeplab_mobilenet",
    "deeplab_resnet18": "dacs.models.deeplab:deeplab_resnet18",
    "deeplab_resnet50": "dacs.models.deeplab:deeplab_resnet50",
    "deeplab_resnet101": "dacs.models.deeplab:deeplab_resnet101",
}
WITH_BACKBONE = {"pyramid", "daformer", "deeplab_timm"}  # those whose backbone `model.backbone` names
