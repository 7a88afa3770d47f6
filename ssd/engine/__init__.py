"""What runs: training, evaluation over datasets, prediction on single images, and the set-up that commands share."""
