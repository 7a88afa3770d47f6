"""Every configuration key with its default; a YAML file overrides these, and the command line both.

Keys and defaults follow lufficc/SSD; docs/compatibility.md lists the differences.
"""

from ssd.config.node import Config

cfg = Config()

# ---------------------------------------------------------------- model
cfg.MODEL = Config()
cfg.MODEL.META_ARCHITECTURE = "SSDDetector"
# "auto" takes the first that exists of cuda, mps, cpu. Naming one that does not exist is an error.
cfg.MODEL.DEVICE = "auto"
# A prior whose IoU with an object reaches this is positive (SSD, Sec. 2.2, "Matching strategy").
cfg.MODEL.THRESHOLD = 0.5
# Other priors whose IoU with an object reaches this, such as 0.4, are in no loss; 1 = all of them are negatives.
cfg.MODEL.IGNORE_THRESHOLD = 1.0
# Classes including background, which is label 0. 0 = follow the class names of DATASETS.TRAIN.
cfg.MODEL.NUM_CLASSES = 21
# Negatives kept per positive when mining (SSD, Sec. 2.2, "Hard negative mining"). An image without objects
# counts as one with a single positive, so it contributes this many negatives.
cfg.MODEL.NEG_POS_RATIO = 3
# Scale of the encoded offsets: centres are divided by the first, log sizes by the second.
cfg.MODEL.CENTER_VARIANCE = 0.1
cfg.MODEL.SIZE_VARIANCE = 0.2

# Start from a trained detector, by path, URL or name of `ssd models`, in place of BACKBONE.PRETRAINED.
cfg.MODEL.WEIGHTS = ""
# Names of the classes of WEIGHTS, without background. Empty = as its checkpoint says; else those of VOC for 21 classes
# and of COCO for 81, with a warning. Classes whose name the training shares keep their weights. They also name the
# classes of a checkpoint to evaluate or detect with, unless WEIGHTS is another file and that checkpoint names its own.
cfg.MODEL.WEIGHTS_CLASSES = ()
# Regular expressions: parts of the model that start from initial weights instead, such as ["box_head"].
cfg.MODEL.WEIGHTS_EXCLUDE = ()

cfg.MODEL.BACKBONE = Config()
cfg.MODEL.BACKBONE.NAME = "vgg"
# Channels of each feature map. Empty = as the backbone gives them; given values are checked against it.
cfg.MODEL.BACKBONE.OUT_CHANNELS = ()
# Start from ImageNet weights: True = the documented URL of the backbone, a path or URL = that file, False = random.
cfg.MODEL.BACKBONE.PRETRAINED = True
# Numbers of the layers that give the first feature maps (MobileNets). Empty = as published. For small objects add a
# finer one: [6, 13, 18] takes mobilenet_v2 from stride 8; the lists of PRIORS grow with it.
cfg.MODEL.BACKBONE.OUT_INDICES = ()
# Channels of mobilenet_v1_tensorflow, relative to those of the paper ("depth multiplier" in TensorFlow).
cfg.MODEL.BACKBONE.WIDTH = 1.0
# Stages, counted from the image, that keep their weights and batch statistics; 0 = train all.
cfg.MODEL.BACKBONE.FREEZE_STAGES = 0
# Whether all batch norms of the backbone, without its extra layers, stay as they are: for small batches.
cfg.MODEL.BACKBONE.FREEZE_BATCH_NORMS = False

# Layers between backbone and head: "none"; "fpn" adds context of coarser maps to finer ones, "pan" also of finer ones
# to coarser ones. BACKBONE then has no extra layers.
cfg.MODEL.NECK = Config()
cfg.MODEL.NECK.NAME = "none"
# Channels of every level: 96 suits light necks, 256 others.
cfg.MODEL.NECK.CHANNELS = 96
# Depthwise separable convolutions instead of full ones.
cfg.MODEL.NECK.LIGHT = True
# Strides of the maps that the neck takes from the backbone, ascending; two coarser levels follow. [4, 8, 16, 32] adds a
# level for tiny objects, with MobileNets, ResNets and tiny; the lists of PRIORS then have one entry more.
cfg.MODEL.NECK.STRIDES = [8, 16, 32]

cfg.MODEL.PRIORS = Config()
# Height and width of each feature map: n, or (height, width). Empty = as the backbone gives them; else checked.
cfg.MODEL.PRIORS.FEATURE_MAPS = []
# Pixels between neighbouring priors on each level: n, or (y, x). Empty = derived from the feature maps.
cfg.MODEL.PRIORS.STRIDES = []
# Centres of priors: "stride" = (index + 0.5) * stride from the edge, as in the authors' release; "map" = the middle of
# an equal share of the image, whatever STRIDES are.
cfg.MODEL.PRIORS.CENTERS = "stride"
# Side in pixels of the small square prior of each level; with MAX_SIZES it gives the second, sqrt(min * max).
cfg.MODEL.PRIORS.MIN_SIZES = [30, 60, 111, 162, 213, 264]
cfg.MODEL.PRIORS.MAX_SIZES = [60, 111, 162, 213, 264, 315]
# Each ratio r (width over height) gives two priors on its level, r:1 and 1:r; a pair [p, q] gives p:1 and q:1.
cfg.MODEL.PRIORS.ASPECT_RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
# (width, height) in pixels of the priors of a cell, one list a level, in place of these three lists. Empty = by them.
cfg.MODEL.PRIORS.SHAPES = []
# First centre of each level, in strides from the corner of the image: n, or (y, x). Empty = 0.5 on every level.
cfg.MODEL.PRIORS.OFFSETS = []
# Priors per cell: 2 + 2 * number of ratios. Empty = derived; given values are checked.
cfg.MODEL.PRIORS.BOXES_PER_LOCATION = []
# Clamp (cx, cy, w, h) of every prior to [0, 1], as the released weights were trained; "size" clamps w and h alone.
cfg.MODEL.PRIORS.CLIP = True

cfg.MODEL.BOX_HEAD = Config()
cfg.MODEL.BOX_HEAD.NAME = "SSDBoxHead"
# SSDBoxPredictor (3x3 convolutions), SSDLiteBoxPredictor (separable ones, on the last level pointwise),
# PlainSSDLiteBoxPredictor (the same without batch norm), SeparableBoxPredictor (separable on every level) or
# PointwiseBoxPredictor (1x1 convolutions).
cfg.MODEL.BOX_HEAD.PREDICTOR = "SSDBoxPredictor"
# Scores of the classes: "softmax" over classes and background (the paper's), or "sigmoid" of each class by itself. The
# weights have the same shapes; with "sigmoid" the background's are not used.
cfg.MODEL.BOX_HEAD.SCORES = "softmax"
# "mined": cross-entropy of positives and the hardest negatives (the paper's), or "focal": focal loss of all priors
# (arXiv:1708.02002, alpha 0.25, gamma 2), which does not read NEG_POS_RATIO.
cfg.MODEL.BOX_HEAD.CLS_LOSS = "mined"
# What the score of a positive learns: "none": 1; "iou": the IoU of its predicted box with its object, so that scores
# rank boxes too; "relative": that, divided by the best of the same object.
cfg.MODEL.BOX_HEAD.QUALITY = "none"
# Weights of the losses of boxes: smooth L1 of the offsets (the paper's), and 1 - GIoU of the boxes.
cfg.MODEL.BOX_HEAD.L1_WEIGHT = 1.0
cfg.MODEL.BOX_HEAD.GIOU_WEIGHT = 0.0

# ---------------------------------------------------------------- input
cfg.INPUT = Config()
# Network input in pixels: n, or (height, width). Images are stretched to it.
cfg.INPUT.IMAGE_SIZE = 300
# RGB, on the scale 0 to 255: the network sees (pixel - mean) / std.
cfg.INPUT.PIXEL_MEAN = [123, 117, 104]
cfg.INPUT.PIXEL_STD = [1, 1, 1]

# Steps of the random augmentation in training (SSD, Sec. 2.2 and 3.6). Switch off what the data forbids (mirroring
# letters) or a short schedule on small objects cannot afford (expanding, cropping).
cfg.INPUT.AUGMENTATION = Config()
cfg.INPUT.AUGMENTATION.PHOTOMETRIC = True
cfg.INPUT.AUGMENTATION.EXPAND = True
cfg.INPUT.AUGMENTATION.CROP = True
cfg.INPUT.AUGMENTATION.MIRROR = True
# Random geometry instead of EXPAND and CROP, which must be False: least and largest factor on the size of objects, such
# as (0.5, 1.5), and on their aspect ratio, such as (0.8, 1.25); and the largest move, as a share of the network input,
# such as 0.2.
cfg.INPUT.AUGMENTATION.SCALE = (1.0, 1.0)
cfg.INPUT.AUGMENTATION.ASPECT = (1.0, 1.0)
cfg.INPUT.AUGMENTATION.SHIFT = 0.0
# Share of MAX_ITER at the end in which images are mirrored alone (and colours vary, with PHOTOMETRIC), such as 0.1.
cfg.INPUT.AUGMENTATION.CLOSE = 0.0

# ---------------------------------------------------------------- data
cfg.DATASETS = Config()
# Names from the catalogue (voc_2007_trainval, coco_2017_train, ...) or from CUSTOM.
cfg.DATASETS.TRAIN = ()
cfg.DATASETS.TEST = ()
# Your own sets: NAME: {FORMAT: voc, ROOT: ..., SPLIT: ...} or {FORMAT: coco, IMAGES: ..., ANNOTATIONS: ...}; with ROOT
# alone the format is detected.
# An optional CLASSES list fixes the names and their order (without background).
cfg.DATASETS.CUSTOM = Config(new_allowed=True)
# Mistakes in a dataset: "raise" stops at the first; "skip" drops the object, annotation or image, with a warning.
cfg.DATASETS.ON_ERROR = "raise"

cfg.DATA_LOADER = Config()
# Worker processes of each training process; never more than the machine has cores for it.
cfg.DATA_LOADER.NUM_WORKERS = 8
# Copy batches through page-locked memory when the device is a GPU.
cfg.DATA_LOADER.PIN_MEMORY = True
# In training, decode a JPEG at 1/2, 1/4 or 1/8 of its size if that is enough for the crop and the network input.
cfg.DATA_LOADER.REDUCED_DECODING = True
# Rare classes are seen more often: images with a class that less than this share of the images has are repeated (LVIS,
# arXiv:1908.03195), sqrt(share / that of the class) times; 0 = each image once an epoch.
cfg.DATA_LOADER.REPEAT_THRESHOLD = 0.0

# ---------------------------------------------------------------- training
cfg.SOLVER = Config()
cfg.SOLVER.MAX_ITER = 120000
# "multistep": the learning rate is multiplied by GAMMA when the iterations of LR_STEPS are reached.
# "cosine": it falls to 0 at MAX_ITER along half a cosine.
# "flat_cosine": it stays for the share FLAT of MAX_ITER, then falls to END_FACTOR of itself along half a cosine.
cfg.SOLVER.SCHEDULE = "multistep"
cfg.SOLVER.FLAT = 0.5
cfg.SOLVER.END_FACTOR = 0.05
cfg.SOLVER.LR_STEPS = [80000, 100000]
cfg.SOLVER.GAMMA = 0.1
cfg.SOLVER.BATCH_SIZE = 32
# Images that BATCH_SIZE counts when torchrun starts several processes (docs/distributed.md). "process": those of each;
# LR is multiplied by the number of processes, and MAX_ITER, LR_STEPS and WARMUP_ITERS are divided by it. "global":
# those of all together; each takes its share, and the schedule is not changed.
cfg.SOLVER.BATCH_SIZE_SCOPE = "process"
# Batch norm over the images of all processes, not of each alone.
cfg.SOLVER.SYNC_BN = False
# "sgd" (the paper's) or "adamw" (which does not read MOMENTUM).
cfg.SOLVER.OPTIMIZER = "sgd"
cfg.SOLVER.LR = 1e-3
cfg.SOLVER.MOMENTUM = 0.9
cfg.SOLVER.WEIGHT_DECAY = 5e-4
# False: no weight decay on batch norms, the scale of L2Norm and biases.
cfg.SOLVER.DECAY_NORMS_AND_BIASES = True
# Learning rate relative to LR: of biases (2 in the authors' release), of the backbone without its extra layers, and of
# the layers that start from random weights: those outside the backbone, or WEIGHTS_EXCLUDE where MODEL.WEIGHTS is set.
cfg.SOLVER.BIAS_LR_FACTOR = 1.0
cfg.SOLVER.BACKBONE_LR_FACTOR = 1.0
cfg.SOLVER.NEW_LAYERS_LR_FACTOR = 1.0
# The learning rate rises linearly from WARMUP_FACTOR * LR to LR over WARMUP_ITERS iterations.
cfg.SOLVER.WARMUP_FACTOR = 1.0 / 3
cfg.SOLVER.WARMUP_ITERS = 500
# Fixes initial weights, sample order and augmentation.
cfg.SOLVER.SEED = 0
# Number format of the network in training; weights, losses and boxes stay float32. "auto": "bf16" on a GPU that has
# it, else "fp16" with scaled losses; "off" on other devices. On a CPU "bf16" is faster only with AMX.
cfg.SOLVER.AMP = "auto"
# True: compile the network (and, on a GPU, the colours) with torch.compile: minutes at the start, then faster.
# "reduce-overhead": also record CUDA graphs, for small networks; one for each largest number of objects in a batch.
cfg.SOLVER.COMPILE = False
# Parts in which a batch of BATCH_SIZE images goes through the network, one after the other, for less memory. The step
# is that of the whole batch, except that batch norm sees the parts.
cfg.SOLVER.MICRO_BATCHES = 1
# Maximum norm of the gradients, which are scaled down to it; 0 = no limit.
cfg.SOLVER.GRAD_CLIP = 0.0
# Decay of a moving average of the weights, such as 0.999, which is evaluated and saved for detection; 0 = no average.
cfg.SOLVER.EMA = 0.0
# Steps of a run with a loss or gradient that is not finite that are left out (no update of weights, optimizer, batch
# statistics or average) before it stops; 0 = it stops at the first.
cfg.SOLVER.MAX_NONFINITE_STEPS = 0
# Equal runs give equal bits, on the same machine with the same versions, threads and processes. Slower on a GPU, where
# operators without a deterministic algorithm warn. On a CPU the built-in detectors are deterministic without this key.
cfg.SOLVER.DETERMINISTIC = False

# ---------------------------------------------------------------- checkpoints
cfg.CHECKPOINT = Config()
# Number of checkpoints model_XXXXXX.pth to keep, newest first; -1 = all. model_final, model_best and the one to
# continue from always stay. The disk needs room for one more.
cfg.CHECKPOINT.KEEP = -1
# Also write the weights as model_XXXXXX.safetensors next to each checkpoint, for other tools (extra: safetensors).
cfg.CHECKPOINT.SAFETENSORS = False

# ---------------------------------------------------------------- evaluation
cfg.TEST = Config()
# Of two boxes of one class, the lower-scored is dropped when their IoU exceeds this.
cfg.TEST.NMS_THRESHOLD = 0.45
# Also drop boxes of other classes so, for objects that cannot overlap. Not in exported networks.
cfg.TEST.CLASS_AGNOSTIC_NMS = False
# Multiply the scores of overlapping boxes by exp(-IoU^2 / SOFT_NMS), such as 0.5, instead of dropping them (Soft-NMS,
# arXiv:1704.04503); 0 = drop them. NMS_THRESHOLD, PRE_NMS_TOP_K and MAX_PER_CLASS are not read then. Not in exported
# networks.
cfg.TEST.SOFT_NMS = 0.0
# Detections must score above this.
cfg.TEST.CONFIDENCE_THRESHOLD = 0.01
# Candidates per class and image, best first, that go into NMS; -1 = all.
cfg.TEST.PRE_NMS_TOP_K = -1
# Detections kept per class and image; -1 = no limit.
cfg.TEST.MAX_PER_CLASS = -1
# Detections kept per image, best first; -1 = no limit.
cfg.TEST.MAX_PER_IMAGE = 100
# Clip boxes to the image, before NMS. The published VOC figures of lufficc/SSD were measured without.
cfg.TEST.CLIP_BOXES = False
cfg.TEST.BATCH_SIZE = 10
# Number format of the network in evaluation and detection, as SOLVER.AMP. Here "auto" is "bf16" on a CPU too, if that
# has AMX and the network has no depthwise convolutions.
cfg.TEST.AMP = "off"
# As SOLVER.COMPILE, for evaluation and detection; one graph for each size of a batch.
cfg.TEST.COMPILE = False
# "auto" = as the dataset asks (11-point VOC AP for the 2007 sets, every-point for other VOC sets, COCO AP for COCO
# sets), or one of voc07, voc, coco for sets of every format.
cfg.TEST.METRIC = "auto"
# The evaluations of a training also compute the losses on the test images, without augmentation, from the same
# predictions; docs/training.md has the cost.
cfg.TEST.VALIDATION_LOSS = True

# Folder of all output of a run; a later run with the same folder continues it.
cfg.OUTPUT_DIR = "outputs"
