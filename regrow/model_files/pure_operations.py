"""Operations of TensorFlow that a model file may name: those that compute, and do nothing else.

`tf_keras` writes a symbol of TensorFlow's into the file for each call that is no layer, and looks it up when it loads
the file. Among all symbols are functions that read and write files, run Python, open connections, or change the state
of the process. So the ones that are accepted are written out, by a principle: what comes out depends on the arguments
and on random numbers alone, and the arguments can be written as JSON. What takes a function to call (``map_fn``), the
name of a file (``fixed_unigram_candidate_sampler``), a variable (``assign``) or the bytes of a compressed file
(``image.decode_png``) is not here, nor what learns from one call for the next (``learned_unigram_candidate_sampler``),
speaks to the outside (``io``, ``print``, ``py_function``, ``timestamp``, ``random.set_seed``) or is not made for models
(``raw_ops``, ``experimental``).
"""

import functools

OPERATIONS = {
    "": """
        abs acos acosh add add_n approx_top_k argmax argmin argsort as_string asin asinh atan atan2 atanh
        batch_to_space bitcast boolean_mask broadcast_dynamic_shape broadcast_static_shape broadcast_to cast
        clip_by_global_norm clip_by_norm clip_by_value complex concat convert_to_tensor cos cosh cumsum divide
        dynamic_partition dynamic_stitch edit_distance eig eigvals einsum ensure_shape equal exp expand_dims
        extract_volume_patches eye fftnd fill fingerprint floor gather gather_nd greater greater_equal guarantee_const
        histogram_fixed_width histogram_fixed_width_bins identity identity_n ifftnd irfftnd is_tensor less less_equal
        linspace logical_and logical_not logical_or matmul matrix_square_root maximum meshgrid minimum multiply
        negative norm not_equal one_hot ones ones_like pad parallel_stack pow random_index_shuffle range rank realdiv
        reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat
        required_space_to_batch_paddings reshape reverse reverse_sequence rfftnd roll round saturate_cast scalar_mul
        scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign sin sinh size slice sort space_to_batch
        space_to_batch_nd split sqrt square squeeze stack stop_gradient strided_slice subtract tan tanh
        tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub
        tensor_scatter_nd_update tensordot tile transpose truediv truncatediv truncatemod unique unique_with_counts
        unravel_index unstack where zeros zeros_like
    """,
    "bitwise": """
        bitwise_and bitwise_or bitwise_xor invert left_shift right_shift
    """,
    "debugging": """
        check_numerics
    """,
    "dtypes": """
        cast complex saturate_cast
    """,
    "image": """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_jpeg_quality adjust_saturation central_crop
        combined_non_max_suppression convert_image_dtype crop_and_resize crop_to_bounding_box draw_bounding_boxes
        extract_glimpse extract_patches flip_left_right flip_up_down generate_bounding_box_proposals grayscale_to_rgb
        hsv_to_rgb image_gradients non_max_suppression non_max_suppression_overlaps non_max_suppression_padded
        non_max_suppression_with_scores pad_to_bounding_box per_image_standardization psnr random_brightness
        random_contrast random_crop random_flip_left_right random_flip_up_down random_hue random_jpeg_quality
        random_saturation resize resize_with_crop_or_pad resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq
        rgb_to_yuv rot90 sample_distorted_bounding_box sobel_edges ssim ssim_multiscale stateless_random_brightness
        stateless_random_contrast stateless_random_crop stateless_random_flip_left_right stateless_random_flip_up_down
        stateless_random_hue stateless_random_jpeg_quality stateless_random_saturation
        stateless_sample_distorted_bounding_box total_variation transpose yiq_to_rgb yuv_to_rgb
    """,
    "keras.backend": """
        binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
        sparse_categorical_crossentropy
    """,
    "linalg": """
        adjoint band_part banded_triangular_solve cholesky cholesky_solve cross det diag diag_part eig eigh
        eigh_tridiagonal eigvals eigvalsh einsum experimental.conjugate_gradient expm eye global_norm inv l2_normalize
        logdet logm lstsq lu lu_matrix_inverse lu_reconstruct lu_solve matmul matrix_rank matrix_transpose matvec norm
        normalize pinv qr set_diag slogdet solve sqrtm svd tensor_diag tensor_diag_part tensordot trace
        triangular_solve tridiagonal_matmul tridiagonal_solve
    """,
    "math": """
        abs accumulate_n acos acosh add add_n angle approx_max_k approx_min_k argmax argmin asin asinh atan atan2
        atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e betainc bincount ceil confusion_matrix conj cos cosh
        count_nonzero cumprod cumsum cumulative_logsumexp digamma divide divide_no_nan equal erf erfc erfcinv erfinv
        exp expm1 floor floordiv floormod greater greater_equal igamma igammac imag in_top_k invert_permutation
        is_finite is_inf is_nan is_non_decreasing is_strictly_increasing l2_normalize lbeta less less_equal lgamma log
        log1p log_sigmoid log_softmax logical_and logical_not logical_or logical_xor maximum minimum mod multiply
        multiply_no_nan ndtri negative nextafter not_equal polygamma polyval pow real reciprocal reciprocal_no_nan
        reduce_all reduce_any reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod
        reduce_std reduce_sum reduce_variance rint round rsqrt scalar_mul segment_max segment_mean segment_min
        segment_prod segment_sum sigmoid sign sin sinh sobol_sample softmax softplus softsign special.bessel_i0
        special.bessel_i0e special.bessel_i1 special.bessel_i1e special.bessel_j0 special.bessel_j1 special.bessel_k0
        special.bessel_k0e special.bessel_k1 special.bessel_k1e special.bessel_y0 special.bessel_y1 special.dawsn
        special.expint special.fresnel_cos special.fresnel_sin special.spence sqrt square squared_difference subtract
        tan tanh top_k truediv unsorted_segment_max unsorted_segment_mean unsorted_segment_min unsorted_segment_prod
        unsorted_segment_sqrt_n unsorted_segment_sum xdivy xlog1py xlogy zero_fraction zeta
    """,
    "nn": """
        all_candidate_sampler approx_max_k approx_min_k atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d
        avg_pool2d avg_pool3d batch_norm_with_global_normalization batch_normalization bias_add collapse_repeated
        compute_accidental_hits conv1d conv1d_transpose conv2d conv2d_transpose conv3d conv3d_transpose conv_transpose
        convolution crelu ctc_beam_search_decoder ctc_greedy_decoder ctc_loss ctc_unique_labels depth_to_space
        depthwise_conv2d depthwise_conv2d_backprop_filter depthwise_conv2d_backprop_input dilation2d dropout elu
        embedding_lookup embedding_lookup_sparse erosion2d experimental.general_dropout experimental.stateless_dropout
        fractional_avg_pool fractional_max_pool gelu in_top_k isotonic_regression l2_loss l2_normalize leaky_relu
        local_response_normalization log_poisson_loss log_softmax lrn max_pool
        max_pool1d max_pool2d max_pool3d max_pool_with_argmax moments nce_loss normalize_moments pool relu relu6
        safe_embedding_lookup_sparse sampled_softmax_loss selu separable_conv2d sigmoid
        sigmoid_cross_entropy_with_logits silu softmax softmax_cross_entropy_with_logits softplus softsign
        space_to_batch space_to_depth sparse_softmax_cross_entropy_with_logits sufficient_statistics swish tanh top_k
        weighted_cross_entropy_with_logits weighted_moments zero_fraction
    """,
    "quantization": """
        dequantize fake_quant_with_min_max_args fake_quant_with_min_max_args_gradient fake_quant_with_min_max_vars
        fake_quant_with_min_max_vars_gradient fake_quant_with_min_max_vars_per_channel
        fake_quant_with_min_max_vars_per_channel_gradient quantize quantize_and_dequantize quantize_and_dequantize_v2
        quantized_concat
    """,
    "ragged": """
        boolean_mask cross cross_hashed range row_splits_to_segment_ids segment_ids_to_row_splits stack
        stack_dynamic_partitions
    """,
    "random": """
        all_candidate_sampler categorical experimental.index_shuffle experimental.stateless_fold_in
        experimental.stateless_shuffle experimental.stateless_split fold_in gamma
        log_uniform_candidate_sampler normal poisson shuffle split stateless_binomial stateless_categorical
        stateless_gamma stateless_normal stateless_parameterized_truncated_normal stateless_poisson
        stateless_truncated_normal stateless_uniform truncated_normal uniform uniform_candidate_sampler
    """,
    "sets": """
        difference intersection size union
    """,
    "signal": """
        dct fft fft2d fft3d fftnd fftshift frame hamming_window hann_window idct ifft ifft2d ifft3d ifftnd ifftshift
        inverse_mdct inverse_stft inverse_stft_window_fn irfft irfft2d irfft3d irfftnd kaiser_bessel_derived_window
        kaiser_window linear_to_mel_weight_matrix mdct mfccs_from_log_mel_spectrograms overlap_and_add rfft rfft2d
        rfft3d rfftnd stft vorbis_window
    """,
    "sparse": """
        add bincount concat cross cross_hashed expand_dims eye fill_empty_rows from_dense mask maximum minimum
        reduce_max reduce_sum reorder reset_shape reshape retain sampled_addmm segment_mean segment_sqrt_n segment_sum
        slice softmax sparse_dense_matmul split to_dense to_indicator transpose
    """,
    "strings": """
        as_string bytes_split format join length lower ngrams reduce_join regex_full_match regex_replace split strip
        substr to_hash_bucket to_hash_bucket_fast to_hash_bucket_strong to_number unicode_decode
        unicode_decode_with_offsets unicode_encode unicode_script unicode_split unicode_split_with_offsets
        unicode_transcode unsorted_segment_join upper
    """,
}
# Those that have a name of their own among the symbols of TensorFlow 1, with ``compat.v1`` before it.
FORMER = {
    "": """
        angle arg_max arg_min batch_gather batch_to_space_nd betainc bincount ceil check_numerics cholesky
        cholesky_solve clip_by_average_norm confusion_matrix conj count_nonzero cross cumprod depth_to_space
        dequantize diag diag_part digamma div div_no_nan erf erfc expm1 extract_image_patches
        fake_quant_with_min_max_args fake_quant_with_min_max_args_gradient fake_quant_with_min_max_vars
        fake_quant_with_min_max_vars_gradient fake_quant_with_min_max_vars_per_channel
        fake_quant_with_min_max_vars_per_channel_gradient fft fft2d fft3d floor_div floordiv floormod global_norm ifft
        ifft2d ifft3d igamma igammac imag invert_permutation is_finite is_inf is_nan is_non_decreasing
        is_strictly_increasing lbeta lgamma lin_space log log1p log_sigmoid logical_xor matrix_band_part
        matrix_determinant matrix_diag matrix_diag_part matrix_inverse matrix_set_diag matrix_solve matrix_solve_ls
        matrix_transpose matrix_triangular_solve mod multinomial polygamma qr quantize quantize_v2 quantized_concat
        random_crop random_gamma random_normal random_poisson random_shuffle random_uniform real reciprocal
        reduce_join regex_replace reverse_v2 rint rsqrt segment_max segment_mean segment_min segment_prod segment_sum
        self_adjoint_eig self_adjoint_eigvals setdiff1d space_to_depth sparse_add sparse_concat sparse_fill_empty_rows
        sparse_mask sparse_matmul sparse_maximum sparse_merge sparse_minimum sparse_reduce_max
        sparse_reduce_max_sparse sparse_reduce_sum sparse_reduce_sum_sparse sparse_reorder sparse_reset_shape
        sparse_reshape sparse_retain sparse_segment_mean sparse_segment_sqrt_n sparse_segment_sum sparse_slice
        sparse_softmax sparse_split sparse_tensor_dense_matmul sparse_tensor_to_dense sparse_to_dense
        sparse_to_indicator sparse_transpose squared_difference string_join string_split string_strip
        string_to_hash_bucket string_to_hash_bucket_fast string_to_hash_bucket_strong string_to_number substr svd
        tensor_scatter_add tensor_scatter_sub tensor_scatter_update to_bfloat16 to_complex128 to_complex64 to_double
        to_float to_int32 to_int64 trace truncated_normal unsorted_segment_max unsorted_segment_mean
        unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum
        verify_tensor_all_finite where_v2 zeta
    """,
    "dtypes": """
        as_string
    """,
    "image": """
        extract_image_patches resize_area resize_bicubic resize_bilinear resize_image_with_crop_or_pad
        resize_image_with_pad resize_images resize_nearest_neighbor transpose_image
    """,
    "linalg": """
        transpose
    """,
    "manip": """
        batch_to_space_nd gather_nd reshape reverse roll scatter_nd space_to_batch_nd tile
    """,
    "nn": """
        avg_pool_v2 conv2d_backprop_filter conv2d_backprop_input conv3d_backprop_filter conv3d_backprop_filter_v2
        ctc_beam_search_decoder_v2 ctc_loss_v2 depthwise_conv2d_native depthwise_conv2d_native_backprop_filter
        depthwise_conv2d_native_backprop_input fused_batch_norm log_uniform_candidate_sampler max_pool_v2
        quantized_avg_pool quantized_conv2d quantized_max_pool quantized_relu_x relu_layer
        softmax_cross_entropy_with_logits_v2 uniform_candidate_sampler xw_plus_b
    """,
    "random": """
        multinomial stateless_multinomial
    """,
    "sets": """
        set_difference set_intersection set_size set_union
    """,
    "sparse": """
        matmul merge reduce_max_sparse reduce_sum_sparse
    """,
    "spectral": """
        dct fft fft2d fft3d idct ifft ifft2d ifft3d irfft irfft2d irfft3d rfft rfft2d rfft3d
    """,
}
# What of tensors that are not dense is no symbol, but a property or method of theirs, or of their class.
MEMBERS = {
    "InstanceProperty": "dense_shape flat_values indices nested_row_splits ragged_rank row_splits shape values",
    "InstanceMethod": """
        bounding_shape nested_row_lengths nested_value_rowids nrows row_lengths row_limits row_starts to_sparse
        to_tensor value_rowids with_flat_values with_row_splits_dtype with_values
    """,
    "ClassMethod": """
        from_nested_row_lengths from_nested_row_splits from_nested_value_rowids from_row_lengths from_row_limits
        from_row_splits from_row_starts from_sparse from_tensor from_uniform_row_length from_value_rowids
    """,
}


@functools.cache
def _symbols() -> frozenset[str]:
    named = {f"{module}.{name}".lstrip(".") for module, names in OPERATIONS.items() for name in names.split()}
    former = {f"{module}.{name}".lstrip(".") for module, names in FORMER.items() for name in names.split()}
    return frozenset({*named, *(f"compat.v1.{name}" for name in {*named, *former})})


def computes_only(symbol: str) -> bool:
    """Whether ``symbol``, such as ``math.add``, is known to compute and to do nothing else.

    All of ``__operators__`` are Python's operators on tensors.
    """
    module, _, name = symbol.rpartition(".")
    return symbol in _symbols() or (module == "__operators__" and name.isidentifier())


def member_computes_only(kind: str, name: str, *, owner: str) -> bool:
    """Whether the method or property ``name``, which a layer of class ``kind`` calls, computes and does nothing else.

    ``owner`` is the symbol of the class whose method it is; empty for those of a tensor itself.
    """
    return name in MEMBERS[kind].split() and owner == ("RaggedTensor" if kind == "ClassMethod" else "")
